# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which words make a question one of a kind, in order: the first rule that fits decides."""

from __future__ import annotations

from .intent import Kind
from .patterns import (
    ABOVE,
    BEHIND,
    BELOW,
    BULK,
    COMPARED,
    ENDS,
    FAR,
    FREE,
    FRONT,
    LEFT,
    NEAR,
    RIGHT,
    Rule,
    X,
    difference_asked,
    first_of,
    ratio_asked,
    side_asked,
    size_asked,
)
from .robot_rules import COULD, DID

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = (
    # The model's own exercises, in the words that it is taught.
    Rule(Kind.VIEW_CHANGE, r"\bhow does <r\d+> move and turn\b|\bwhich motion takes\b", 0, 0),
    *DID,
    # Between several.
    Rule(
        Kind.BETWEEN,
        rf"{X}.*\b(?:between|in (?:the )?middle of|stretch from|flanked by)\b.*{X}.*{X}|"
        rf"\bbetween {X} "
        rf"and {X}.*{X}",
        3,
        3,
        without=r"\bhow\b|\bwhat\b|\bwhich\b|\bwho\b|\bfit\b|\b(?:squeeze|pass|height|width|distance|gap|"
        r"space|room|angle|difference|size|length)\b",
    ),
    # The extent of a thing whose ends are marked.
    Rule(
        Kind.HEIGHT,
        rf"\b(?:tall|high|height|vertical(?:ly)?|upright)\b.*\b(?:{ENDS}|between <m\d+> "
        r"(?:at \w+ )?and <m\d+>)",
        2,
        4,
        without=rf"overfloor|{COMPARED}|\bdiffer|\bthan\b|\bangle|\bhow much\b|"
        r"\bhow many\b(?! \w+ (?:tall|high)\b)",
    ),
    Rule(
        Kind.WIDTH,
        rf"\b(?:wide|broad|width|breadth|across)\b.*\b{ENDS}|{ENDS}.*\b(?:wide|across)\b",
        2,
        4,
        without=rf"\b{FREE}\b|\bgap|\b(?:space|room|clearance|passage|opening)\b|{COMPARED}",
    ),
    Rule(
        Kind.SIZE,
        rf"\b(?:big|large|size|long|length|dimensions?|extent)\b.*\b{ENDS}",
        2,
        4,
        without=rf"\b(?:way|path|line|route|distance|drive|far|apart)\b|{COMPARED}|\bdiffer",
    ),
    Rule(
        Kind.GAP,
        rf"\b(?:gap|distance free|empty|left over|remains|space|room|clearance|opening|"
        rf"free|passage|separation|fit|fits|pass|squeeze|wide|width)\b.*\b(?:between|from)\b.*{X}.*"
        rf"{X}|{X}.*{X}.*\b(?:gap|space|room|clearance)\b.*\bbetween\b",
        2,
        2,
        without=r"\bangle\b|{NEAR}|{FAR}|\bsee[ns]?\b|\bdistance\b(?!.*\bfree\b)",
    ),
    Rule(
        Kind.RATIO,
        r"\bhow many times\b|\btimes (?:as|more|farther|further|higher|taller|wider|"
        r"closer|nearer)\b|\b(?:what|which) factor\b|\bratio\b|\bmultiple\b|\b(?:twice|"
        r"half|double) (?:as|distance|height|width)\b|\bhow many fold\b|\bfactor\b|"
        r"\bdivided by\b",
        2,
        2,
        ratio_asked,
    ),
    Rule(
        Kind.DIFFERENCE,
        rf"\b(?:how much|how many|how far|what (?:amount|distance)|difference|differ\w*|by "
        rf"what)\b.*(?:{COMPARED}|\bdifferences?\b|\bdiffer\w*|\bdepths\b)|\bdifference\b|"
        rf"\bexceeds?\b|\bminus\b|(?:{COMPARED}).*\bby (?:how|what)\b|"
        rf"\b(?:how much|how many \w+|how far) (?:above|below|"
        rf"behind) {X}",
        2,
        2,
        difference_asked,
        without=r"\bangle|\bdegrees",
    ),
    Rule(
        Kind.ANGLE,
        r"\bangles?\b|\bangular\b|\boff-axis\b|\bdegrees?\b|\boff (?:optical |camera |"
        r"viewing |central |centre |center )?(?:axis|cent(?:re|er))\b|\boff[- ]axis\b",
        1,
        2,
        without=r"\bwhich (?:way|direction)\b",
    ),
    *COULD,
    # Properties that eyes tell.
    Rule(
        Kind.COLOUR,
        r"\bcolou?r(?:s|ed)?\b|\bcoloured\b|<t\d+> coloured or\b|"
        r"\btone\b|\bhue\b|\bpainted\b|\bshade\b|"
        r"\btint\b",
        1,
        1,
    ),
    Rule(
        Kind.COUNT,
        r"\bhow many (?:different |other |of )?<t\d+>|\b(?:number|count|amount|total|"
        r"quantity) (?:up )?(?:of )?(?:all )?<t\d+>|^count\b|\bcount\b.*<t\d+>|\bhow many "
        r"(?:objects|things|items)\b|\bhow much <t\d+> are\b",
        0,
        1,
        without=r"\bnumber <t",
    ),
    # Which of them.
    Rule(
        Kind.NEAREST,
        rf"(?=.*(?:{NEAR}|{FAR}|\bleast distance\b|\b(?:more|most) close\b|\b(?:shorter|"
        rf"longer|greater|smaller|larger) (?:distance|depth)\b|\b(?:greatest|smallest|"
        rf"shortest|largest|most) (?:distance|depth)\b|\bmore distance\b|{X} or {X}.*\bfirst\b|"
        rf"\bfirst\b.*{X} or {X}))(?!.*\bhow "
        rf"(?:much|far|close|many)\b)(?!.*\b(?:further|farther|furthest|farthest|"
        rf"nearest)(?: to)? (?:left|right|up|down)\b)",
        0,
        9,
        first_of(
            (
                FAR
                + r"|\bgreatest\b|\blargest\b|\blonger\b|\bgreater\b|\blarger\b|\bmost d|\bmore d",
                "far",
            ),
            (r"", "near"),
        ),
    ),
    Rule(
        Kind.RELATION,
        rf"(?:{LEFT}|{RIGHT}|{ABOVE}|{BELOW}|{FRONT}|{BEHIND}|\bwhich side\b)",
        1,
        2,
        side_asked,
        without=r"\bhow\b|^(?:any|are there|is there|do <r\d+> see|can <r\d+> see|what)\b|\bfrom "
        r"overfloor|overfloor|\bhigher\b|\blower\b|^where|\bright to <t|\bto which side|"
        r"\btowards which side|^point\b",
    ),
    Rule(
        Kind.RELATION,
        rf"\brelation of {X}|\brelation between {X}|\bhow (?:is|are) {X} "
        rf"(?:positioned|placed|located) relative to {X}",
        2,
        2,
        side_asked,
    ),
    Rule(
        Kind.RELATION,
        rf"^(?:is|are) there {X} .*(?:{LEFT}|{RIGHT}|{ABOVE}|{BELOW}|{FRONT}|{BEHIND}) "
        r"(?:of )?<[mt]",
        2,
        2,
        side_asked,
    ),
    Rule(
        Kind.TALLEST,
        rf"{BULK}|\b(?:more|most|less|least) (?:room|space)\b",
        2,
        9,
        size_asked,
        without=r"\bhow\b|\bdistance\b",
    ),
    # One thing's own measures.
    Rule(
        Kind.ELEVATION,
        r"overfloor|\bhow (?:high|low)\b|\belevat\w+|\baltitude\b|\b(?:what|which) height "
        r"(?:is|does|do)\b|\b(?:at|of) (?:what|which) height\b|\bheight (?:of |for "
        r")?<m\d+>|<m\d+> height\b|\bhow high up\b|\bhow far up\b|\braised\b|\bheight "
        r"(?:at|is) <",
        1,
        1,
        without=rf"^is there|\bwhich\b.*\bor\b|{BULK}|\bheight (?:does|do) <t\d+> have",
    ),
    Rule(
        Kind.HEIGHT,
        r"\bhow tall\b|\bheight\b|\bvertical (?:size|extent|dimension)\b|\btop to "
        r"bottom\b|\bbottom to top\b|\btall\b|\btallness\b|\bfrom (?:foot|base) to "
        r"(?:head|top)\b",
        1,
        1,
        without=r"\bwidth\b|\blength\b",
    ),
    Rule(
        Kind.WIDTH,
        r"\bhow (?:wide|broad|thick|narrow)\b|\bwidth\b|\bbreadth\b|\bside to side\b|"
        r"\bwide\b|\bwider than <l\d+>|\bacross\b|"
        r"\bleft edge to (?:\w+ )?right edge\b|\bhorizontal (?:size|"
        r"extent)\b",
        1,
        1,
        without=r"\bangle|\bheight\b|\blength\b",
    ),
    Rule(
        Kind.SIZE,
        r"\bhow (?:big|large|small|long|bulky)\b|\bl x w x h\b|\bsizes?\b|\bdimensions?\b|"
        r"\bmeasurements\b|\bextent\b|\bvolume\b|\blength\b|\bmeasures\b|\bhow much "
        r"(?:space|room) (?:does|do|is)\b.*\b(?:take|occup)|\b(?:big|large) (?:is|are)\b",
        1,
        1,
    ),
    Rule(
        Kind.DEPTH,
        r"\bdepth\b|\bhow deep\b|\bdeep\b|\balong (?:optical|viewing|camera|z|<r\d+>|"
        r"line).*\b(?:axis|direction|sight)\b|\balong <r\d+> axis\b|\b(?:optical|viewing) "
        r"axis\b|\bcamera plane\b|<r\d+> plane\b|\bz (?:coordinate|value|distance|of|at)\b",
        1,
        2,
    ),
    Rule(
        Kind.DISTANCE,
        rf"\bhow (?:far|close|near|distant)\b|\bdistances?\b|\brange\b|\bfar away\b|"
        rf"\bseparat\w+|\bhow many (?:metres|meters|centimetres|centimeters|feet|inches|cm|"
        rf"m|yards|steps|units)\b|\bapart\b|\bfar (?:is|off)\b|\bhow much\b.*\baway\b|"
        rf"\bhow long\b.*\b(?:way|line)\b|\bstraight line\b|^(?:measure )?from {X} to {X}",
        1,
        2,
        without=r"\bcan <r\d+> (?:drive|go|move)\b(?!.*<[tm]\d+>)",
    ),
    Rule(
        Kind.LOCATION,
        r"\bwhere (?:exactly )?(?:am|are|is|was|were|did|do) <r\d+>(?! see)|\bwhere (?:\w+ "
        r"){1,4}<r\d+>(?: (?:am|are|is|was|were)\b| now| currently|$)|\b(?:position|"
        r"location|pose|coordinates|place|localised|localized)\b|\b(?:in|on) map\b|"
        r"\bwhereabouts\b|\bwhere <r\d+> (?:am|are|"
        r"is|was|were)\b|\bwhere did\b",
        0,
        1,
        without=r"<[tm]\d+>|\bcan\b",
    ),
    Rule(
        Kind.EXISTS,
        r"\b(?:is|are|was|were) there\b|\bthere (?:is|are)\b|\b(?:do|can|could|did|does) "
        r"<r\d+> (?:\w+ )?(?:see|spot|detect|notice|recogni[sz]e|find|observe|have)\b|"
        r"<t\d+> (?:\w+ )?(?:visible|present|in (?:view|sight|picture|image|room|scene|"
        r"frame|here|front))\b|^any <t|^is <t\d+> (?:there|here|around)|\b(?:contain|"
        r"contains|show|shows|have|has|exist|exists)\b.*<t|<t\d+>.*\b(?:in view|exists?|"
        r"visible|in sight|around|nearby|anywhere|present)\b|\bsee any <t|^have <r\d+> "
        r"got <t|\b(?:any sign|presence) of <t|\bgot <t|^is (?:somewhere|anywhere) <t|"
        r"\bvisible\b.*<t|\bhave <t\d+> in\b|^can <t\d+> be (?:seen|spotted|detected)\b",
        1,
        1,
        without=r"^(?:(?:in|at|to|on) )?(?:what|which|where|how|when|who)\b",
    ),
    Rule(
        Kind.DIRECTION,
        rf"\b(?:which|what) (?:way|direction|side)\b|\bwhere(?:abouts)? (?:\w+ )?(?:is|are|"
        rf"does|do|{X})\b|\bwhere (?:can|should|could|must|do) <r\d+> (?:find|look|see|go|"
        rf"turn|head|face)\b|\bo'clock\b|\bbearing\b|\bheading\b|\bdirections?\b|\bpoint(?:ing)? "
        rf"(?:(?:\w+|<r\d+>) )?(?:to|towards?|at|out)\b|\b(?:lead|guide|direct|take|bring|"
        rf"navigate|show) <r\d+> (?:\w+ )?(?:to|towards?) {X}|\bway to {X}|\bwhich (?:way|side)\b|"
        rf"\blocation of\b|\bposition of\b|\blocate\b|\bfind\b",
        1,
        2,
    ),
    Rule(
        Kind.NAME,
        r"\bwhat(?: (?:did|with|object|thing|item|kind|type|sort|is|are|does|exactly|do|"
        r"am|at|on|under|was|in|can|there|this|of|place|it|<r\d+>|see|seen|looking|"
        r"visible|that|located|call|called|show|shows|mark|marks|named|by|else|or|who|"
        r"right|the|for|be|might|could|being|point|points|pointing|to|lies|lie|sits|"
        r"stands|found|appears|here)\b| <r\d+>| <m\d+>)*$"
        r"|\bwhich (?:object|thing|item)\b|<m\d+> is what\b|\b(?:identify|recogni[sz]e|"
        r"name|call|called|describe|classify)\b",
        0,
        1,
        without=r"<t\d+>|<p\d+>|\bhow\b|\bwhich mark\b|\b<r\d+> (?:called|name)\b|\b(?:is|of) "
        r"<r\d+>$|<r\d+> name|name of <r|^name$",
    ),
)
