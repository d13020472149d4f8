# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which words ask what the robot did, where it is, what it could do; in order, as `rules.py`."""

from __future__ import annotations

from .intent import Kind
from .patterns import (
    FREE,
    GO,
    OBSTACLE,
    PASSAGE,
    PAST,
    PATH,
    TURNED,
    WENT,
    Rule,
    first_of,
    turn_asked,
    way_asked,
)

__all__ = ["COULD", "DID"]

DID: tuple[Rule, ...] = (
    # What the robot did.
    Rule(
        Kind.VISITED,
        r"\b(?:been|visited|was|were|come|came|passed?|be|explored) (?:(?:\w+|<r\d+>) ){0,3}(?:here"
        r"|this (?:place|room|spot|location|area|point))\b"
        r"|\b(?:somewhere|place|spot|room)\b.*\b(?:been|visited)\b"
        r"|\b(?:come|came|go|went|gone|drive|drove|driven|pass|passed|travel\w*) (?:\w+ "
        r"){0,2}here\b"
        r"|\b(?:seen|see|saw|know|remember|recogni[sz]ed?|visit(?:ed)?|familiar|new|first "
        r"time|already|second time|explored)\b.*\b(?:here|this|place|places|room|spot|"
        r"area|location|position|territory|ground)\b.*"
        r"(?<!<)|\b(?:this|here)\b.*\b(?:come|came|passed?|been)\b.*\b(?:previously|before|"
        r"earlier|already)\b|\b(?:place|room|spot|area|location|here)\b.*\b(?:new|know|known|seen|"
        r"visit|been|familiar|visited|before|first time)\b",
        0,
        0,
        without=r"\blast\b|\bhow\b|<f\d+>|\bend\b",
    ),
    Rule(
        Kind.LAST_SEEN,
        r"\bsightings?\b|\b(?:last|latest|most recent)\b.*\b(?:see|seen|saw|spot|spotted|"
        r"notice\w*|visible|detect\w*|observe\w*|view|sight|appear)\b"
        r"|\b(?:see|seen|saw|spot|spotted|notice\w*|visible|detect\w*|observe\w*|view|"
        r"sight|appear|look at)\b.*\blast\b"
        r"|^(?:when|where|how long|(?:at |in )?(?:what|which)).*\b(?:last|most recent(?:ly)?)\b"
        r"|^(?:when|where|how long ago|at what time|in which).*\b(?:did|have|was|has|had|"
        r"were)\b.*\b(?:see|seen|saw|spot|spotted|notice\w*|visible|detect\w*|observe\w*|"
        r"view|sight|appear|find|found|pass|passed)\b",
        1,
        1,
        first_of(
            (
                r"\bwhen\b|\bwhat time\b|\bhow long\b|\bhow many (?:seconds|minutes)\b|\bwhich "
                r"(?:picture|frame|image)\b",
                "when",
            ),
            (r"", "where"),
        ),
        without=r"\b(?:have|need|got) to\b",
    ),
    Rule(
        Kind.RETURN,
        r"\b(?:back|return(?:ing)?|backtrack|home)\b.*(?:<[pmtf]\d+>|\bwhere <r\d+> "
        r"(?:was|were|came|come)\b|\bhome\b|\bbeginning\b)"
        r"|\b(?:return|backtrack|retrace|find way back|get back|go back|way back|way "
        r"home)\b|"
        r"^(?:in )?(?:where|what|which)\b.*\b(?:is|direction|heading|bearing)\b.*<p\d+>|"
        r"\b(?:way|get|go|bring|take|guide|lead|navigate)\b.*<p\d+>|(?=.*"
        r"\b(?:far|distance)\b)(?=.*\bdirection\b).*<p\d+>",
        0,
        1,
        without=r"\bhow far (?:did|have|has)\b|\bfree\b|\bclear\b|\bblocked\b|\bsafe\b|\bcan "
        r"<r\d+> (?:back|reverse)",
    ),
    Rule(
        Kind.TURNED,
        rf"{TURNED}|\bheading\b.*\bchang\w+|\bchang\w+ (?:of |in )?heading\b",
        0,
        0,
        turn_asked,
        without=r"^(?:can|could|may|should|must|is it safe|am|turn|rotate|spin|pan|please)\b|"
        r"\b(?:must|should|need)\b",
    ),
    Rule(
        Kind.TRAVELLED,
        rf"\bhow (?:far|many (?:metres|meters|feet|m))\b.*<s\d+>|\bhow much ground\b|\bhow long "
        rf"(?:was|has|is)\b.*\b(?:way|path|route|trip|drive|journey)\b|"
        rf"\bhow (?:far|much|many|long)\b.*\b{WENT}\b|\b(?:distance|length|far|"
        rf"displacement|metres|meters)\b.*\b(?:{WENT}|path|trajectory|journey|trip|route|"
        rf"driven)\b"
        r"|\b(?:path|trajectory|route|travel|trip|journey)\b.*\b(?:length|distance|"
        r"long)\b|\btravel distance\b|\bodomet\w+|\bmileage\b|\bhow long way\b|\bmetres "
        r"covered\b",
        0,
        0,
        without=rf"\b(?:can|could|must|should|need|may|to {GO})\b|\bhow far (?:is|are|am)\b",
    ),
    Rule(
        Kind.MOVED,
        rf"(?=.*(?:{PAST}))(?=.*\b{WENT}\b)|\bposition\b.*\bchanged\b|\bchanged\b.*\bposition\b|"
        r"\bcamera positions\b.*<f|<r\d+> positions\b.*(?:<f|\bframes\b)|\bbaseline\b|"
        r"\bsame (?:place|spot|position|location)\b.*<f\d+>",
        0,
        0,
        without=r"^(?:can|could|may|should|must|is it)\b|\b(?:must|should|need|free|clear|"
        r"blocked)\b",
    ),
)

COULD: tuple[Rule, ...] = (
    # What the robot could do.
    Rule(
        Kind.REACH,
        r"\breach(?:able|ed|ing)?\b|\b(?:grab|grasp|touch(?:ed)?|pick|gripper|arms?)\b|"
        r"\bwithin\b.*<l\d+>|\b(?:less|closer|nearer|more|farther|further|no more|"
        r"under)\b (?:than )?<l\d+>|<l\d+> or less|\barm length\b|\b(?:at most|maximum|no "
        r"farther than|no further than|not more than) <l\d+>|<l\d+> (?:at most|maximum|"
        r"max)\b|\bradius of <l\d+>|\bhold of\b",
        1,
        1,
        without=r"\bhow (?:far|long|much|wide|many)\b|^which (?:way|direction)|\bin which "
        r"direction|overfloor|\bwithout (?:hit|bump|touch|colli|crash|run)",
    ),
    Rule(
        Kind.ROOM_SIZE,
        r"\b(?:how (?:big|large|long|wide|high|tall|broad|spacious|deep)|size|dimensions?|"
        r"area|length|width|height|volume|footprint|square|measurements)\b.*\b(?:room|"
        r"space|place|floor|area)\b|\b(?:room|space|floor|place)\b.*\b(?:size|dimensions?|"
        r"area|long|wide|high|tall|big|large|length|width|height)\b"
        r"|\bfloor area\b|^(?:what is )?area in here\b|\bsquare (?:metres|meters|feet|footage)\b|"
        r"^(?:\w+ )?measure (?:this )?room\b|"
        r"\broom\b.*\b(?:larger|bigger|smaller) than\b|\bwall-to-wall\b|"
        r"\b(?:big|large) is it in here\b",
        0,
        0,
        first_of(
            (r"\barea\b|\bsquare\b|\bsurface\b|\bfootprint\b", "area"),
            (r"\blong\b|\blength\b|\bdeep\b", "length"),
            (r"\bwide\b|\bwidth\b|\bbroad", "width"),
            (r"\bhigh\b|\bheight\b|\btall\b", "height"),
            (r"", "size"),
        ),
        without=r"\bfree\b|\bahead\b|\bin front\b|\bclear\b|\bopen\b|\bavailable\b|\bbetween\b|"
        r"\bnext to\b|\bhow much\b",
    ),
    Rule(
        Kind.FREE_WIDTH,
        rf"\b{FREE} (?:width|space|room)\b|\bfree\b.*\bwidth\b|\bclearance\b|\bhow "
        rf"(?:wide|broad|narrow) (?:is )?(?:<r\d+> )?(?:{FREE} )?{PASSAGE}\b|\bhow much "
        rf"(?:\w+ )?(?:space|room|width)\b|\bhow (?:wide|narrow|tight)\b.*\bthrough\b|"
        rf"\bunobstructed width\b|\bwidth (?:\w+ "
        rf")?(?:ahead|in front)\b|\bwidth of (?:\w+ )?{PASSAGE}\b|\b{PASSAGE}\b.*"
        rf"\b(?:how wide|width)\b",
        0,
        1,
    ),
    Rule(
        Kind.WAY_FREE,
        rf"\b{PATH}\b.*\b(?:free|clear|open|safe|empty)\b|\b(?:free|clear|open|safe)\b.*"
        rf"\b{PATH}\b|{OBSTACLE}|\b(?:anything|something|nothing)\b.*\b(?:ahead|in front|"
        rf"way|stop\w*|block\w*)\b"
        rf"|\b(?:can|could|may|am|is it|safe|able|possible|will)\b.*\b{GO}\b|\bclear "
        rf"(?:to|ahead|in front|on|behind|left|right)\b|\bis it (?:clear|free|safe)\b|"
        rf"\bcoast clear\b|\b(?:room|space|enough)\b.*"
        rf"\bto {GO}\b|<[mtp]\d+> reachable\b|"
        rf"\b(?:can|could) <r\d+> (?:\w+ )?(?:drive|go|move|reverse|"
        rf"advance|proceed|continue|back)\b",
        0,
        1,
        way_asked,
        without=r"\bhow (?:far|much|many|wide|long)\b|\bcan <r\d+> (?:see|tell)|^(?:what|which|"
        r"where)\b(?! if)",
    ),
)
