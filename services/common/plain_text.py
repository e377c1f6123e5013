"""Names and descriptions as plain text: HTML is taken out, and all else stays as it was written.

Whoever shows the text has to escape it all the same. This is for those who forget.
"""

import html
import re

import nh3

# Letters of any alphabet: upper() makes an S of the long s (U+017F).
_TAG = re.compile(r"<(?:[^\W\d_][^<>]*|/[^<>]*|[!?][^>]*)>")
_OPENING = re.compile(r"<(?=/?([^\W\d_][^\s/<>]*)|[/!?])")
_UNCLOSED = re.compile(r"<(?=[^\W\d_][^<>]*(?:<|$)|/[^<>]*(?:<|$)|[!?][^>]*$)")
MOST_PASSES = 5

_ELEMENTS = frozenset(
    re.findall(
        r"\w+",
        """
        a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink blockquote
        body br button canvas caption center cite code col colgroup content data datalist dd del details dfn dialog
        dir div dl dt em embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head
        header hgroup hr html i iframe image img input ins isindex kbd keygen label legend li link listing main map
        mark marquee math menu menuitem meta meter nav nobr noembed noframes noscript object ol optgroup option output
        p param picture plaintext portal pre progress q rb rp rt rtc ruby s samp script search section select shadow
        slot small source spacer span strike strong style sub summary sup svg table tbody td template textarea tfoot
        th thead time title tr track tt u ul var video wbr xmp
        """,
    )
)


def cleaned(text: str) -> str:
    """The text without HTML. "a < b", "AT&T" and "&lt;" stay; "a<b" and "Map<Key>", which a browser could take for
    tags, become "a< b" and "Map< Key>"."""
    if "<" not in text:
        return text
    # What a tag was cut out of can be another one, so until there is none.
    for _ in range(MOST_PASSES):
        text = _OPENING.sub(_apart_unless_known, _UNCLOSED.sub("< ", text))
        if not _TAG.search(text):
            return _OPENING.sub("< ", text)
        text = html.unescape(nh3.clean(text.replace("&", "&amp;"), tags=set()))
    return text.replace("<", "")


def _apart_unless_known(opening: re.Match[str]) -> str:
    """An element that HTML does not have is more likely a part of a sentence."""
    name = opening[1]
    return "<" if name is None or name.lower() in _ELEMENTS else "< "
