"""What users choose to be told, by call or by a link in a mail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.notification.clock import Clock
from services.notification.mail.kinds import Frequency, MailKind
from services.notification.mail.records import Preferences
from services.notification.mail.unsubscribing import Ending, Unsubscribing
from services.notification.repository.mail_preferences import PreferenceRepository


@dataclass(frozen=True, slots=True)
class Choices:
    """Reads and changes them."""

    preferences: PreferenceRepository
    unsubscribing: Unsubscribing
    clock: Clock

    async def get(self, user_id: str) -> Preferences:
        """A user's."""
        return await self.preferences.get(user_id)

    async def update(
        self, user_id: str, frequencies: Mapping[MailKind, Frequency], digest_hour: int | None, digest_day: int | None
    ) -> Preferences:
        """Sets what is given; what is None stays."""
        await self.preferences.update(user_id, frequencies, digest_hour, digest_day, self.clock())
        return await self.preferences.get(user_id)

    def asked(self, token: str) -> Ending:
        """What a link would end. Raises UnsubscribeTokenInvalid."""
        return self.unsubscribing.read(token)

    async def unsubscribe(self, token: str, everything: bool) -> Sequence[MailKind]:
        """Ends what a link is for, or all mails; answers its kinds. Raises UnsubscribeTokenInvalid."""
        ending = self.unsubscribing.read(token)
        kinds = list(MailKind) if everything else ending.kinds(await self.preferences.get(ending.user_id))
        await self.preferences.switch_off(ending.user_id, kinds, self.clock())
        return sorted(kinds)
