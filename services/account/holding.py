"""How much of a user's credits a replica of the execution service may hold: the rule, and nothing else."""


def granted(*, wanted: int, held: int, balance: int, others: int, undivided: int) -> int:
    """What a replica holds after it has asked for `wanted` in all, while it holds `held` and other replicas `others`.

    Holds never come to more than the balance. Of what nobody holds, a replica gets what it wants, but at one time no
    more than half, so that another one which asks a moment later gets some too; up to `undivided` credits are not worth
    dividing. Who wants more asks again: the rest is halved each time, so it can have all that nobody else wants.
    """
    bound = max(balance - others, 0)
    kept = min(held, bound)
    if wanted <= kept:
        return wanted
    free = bound - kept
    return kept + min(wanted - kept, free if free <= undivided else max(free // 2, undivided))
