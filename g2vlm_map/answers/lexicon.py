# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The words that the grammar knows; every other word is part of something's name."""

from __future__ import annotations

__all__ = [
    "ADJECTIVES",
    "COLOURS",
    "DETERMINERS",
    "FOREIGN",
    "NUMBERS",
    "ORDINALS",
    "ROBOT",
    "SPELLED",
    "VOCABULARY",
    "WORLDLY",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words("the a an any some this that these those my your our its their")
ROBOT = {  # and whose left is meant
    **dict.fromkeys(("robot", "base", "body", "vehicle", "chassis", "platform", "rover"), "base"),
    **dict.fromkeys(("camera", "lens", "i", "me", "you", "us", "we"), "camera"),
    **dict.fromkeys(("myself", "yourself", "ourselves"), "camera"),
}
NUMBERS = {
    word: value
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
ORDINALS = {
    **{
        word: str(value)
        for value, word in enumerate(
            ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"), 2
        )
    },
    **dict.fromkeys(("first", "initial", "earliest", "oldest"), "first"),
    **dict.fromkeys(("last", "latest", "newest", "final", "current", "present"), "last"),
}

# May stand before a noun, inside of a name.
ADJECTIVES = _words(
    """big small large little tall short high low wide narrow long left right front back rear
    nearest closest furthest farthest next other near far upper lower middle open closed
    deep biggest smallest largest tallest highest lowest widest left-hand right-hand same"""
)

_FUNCTION = """
    what which who whom whose when where why how whether if is are was were am be been being do
    does did done has have had having can could will would shall should may might must need
    needs want it its this that these those there here them they he she his her him and or not
    no nor but than as so too very much many more most less least few fewer both either neither
    each every all of to from in on at by with for about into onto between within inside outside
    out up down off over under above below beneath underneath behind ahead across along around
    round through against before after until till since while during toward towards away apart
    near beside beyond front back top bottom side sides left right left-hand right-hand forward
    forwards backward backwards sideways straight upwards downwards ahead next one ones two
    another other others else please now currently just still already ever again once only
    exactly roughly approximately precisely actually really right also then together yes no ok
    okay hey hello hi well oh thanks thank quickly maybe perhaps s t re directly right-away yet
    anymore any anything something nothing someone somebody anyone anybody anywhere somewhere
    everywhere nearby respect relative relation like likely compared comparison versus vs regard
    regards according terms rather instead same
"""
_ASKING = """
    tell say give show measure estimate calculate compute determine report state know think see
    seen saw seeing look looks looking find found let get got getting gets explain describe
    check answer question wonder wondering guess help mean means call called named name names
    identify recognise recognize recognised recognized specify list provide work figure read
    output expect point points pointing mark marks marked marker markers label labels labelled
    labeled pixel pixels place places placed spot spots location locations position positions
    positioned located situated lie lies lying sit sits sitting stand stands standing stood hang
    hangs hanging rest rests resting appear appears visible view views viewed seem seems
    perspective viewpoint standpoint vantage eye eyes sight line lines image images picture
    pictures frame frames photo photos shot shots scene scenes snapshot video object objects
    thing things item items kind type sort
"""
_QUANTITY = """
    depth depths deep deeper deepest shallow shallower far farther farthest further furthest
    distant distance distances close closer closest near nearer nearest range remote separation
    separate separates separated apart gap gaps space room rooms clearance wide wider widest
    width broad broader broadest breadth narrow narrower narrowest thick thickness high higher
    highest height heights low lower lowest tall taller tallest short shorter shortest elevation
    altitude elevated big bigger biggest large larger largest small smaller smallest size sizes
    sized dimension dimensions measurements extent long longer longest length lengths area
    volume square surface footprint great greater greatest bulky vertical vertically horizontal
    horizontally angle angles angular degree degrees radians bearing bearings heading direction
    directions axis optical centre center central viewing offset amount value number count
    counts many metre metres meter meters m cm mm centimetre centimetres centimeter centimeters
    millimetre millimetres millimeter millimeters foot feet ft inch inches yard yards units unit
    total overall altogether sum difference differ differs differing ratio factor multiple times
    fold twice half thrice double proportion z coordinate coordinates pose colour color colours
    colors coloured colored hue painted shade tint full whole entire dimensional straight-line
    line-of-sight straightline
"""
_ACTING = """
    move moves moved moving movement motion go goes going gone went come came coming travel
    travels travelled traveled travelling traveling drive drives drove driven driving walk
    walked cover covered advance advanced shift shifted displaced displacement translate
    translated translation progress progressed rolled trajectory path route way ways trip
    journey turn turns turned turning rotate rotates rotated rotation rotating spin spun pan
    panned yaw yawed swivel swivelled clockwise counterclockwise counter-clockwise anticlockwise
    anti-clockwise return returns returning backtrack bring take takes took lead guide navigate
    reach reaches reached reachable reaching arm arms gripper grab grasp touch pick hand hold
    able possible fit fits pass passes passed passing proceed continue keep safe safely clear
    free blocked blocking block blocks obstructed obstructing obstruct obstructs unobstructed
    obstacle obstacles obstruction obstructions open hit hitting bump bumping collide collision
    crash reverse backing head stop stops start starts started starting begin began beginning
    home origin visited visit been recall remember familiar new last spotted spot noticed notice
    detect detected detects observed observe contain contains present exist exists existing
    available usable passable face faces facing centred centered ended ending end ends ago long
    time moment current present currently earlier previous previously prior recently drift
    drifted lane road straight-ahead swing swung pivot pivoted veer veered swerve swerved sweep
    swept steer steered squeeze squeezed squeezing wander wandered approach approached guided
    direct stuff ground somewhere else instead tight showed hand
    span spans spanned colliding crashing striking
    stand standing width-wise reachable remaining left-most
    right-most leftmost rightmost topmost overfloor
"""
_COMMON = """
    itself themselves himself herself z-distance z-depth z-value plane lost taken took takes
    shot put puts made make makes making offer offers offered allow allows permit permits leave
    leaves require requires use used using indicate mount install attach hung happen happens
    happened occur mention believe suppose assume guess imagine consider compare compares
    describe kindly simply merely quite pretty fairly rather somewhat altogether whole certainly
    definitely truly indeed too even ever never often always sometimes usually meanwhile o'clock
    visit visits visiting empty edge edges corner corners rim border borders exceed exceeds
    divided divide division minus plus equal equals compared whereabouts whereabout drove ran
    run runs running into touched touching held catch stretch extend extends extending lost know
    known knows think thought become became begin keep kept bring brought carry carried follow
    followed send sent set sets seem seemed try tried trying work works call ask asked asking
    hear heard speak spoke spoken lay laid write writes written read reads sing translate cook
    eat drink buy sell pay cost costs weigh weighs belong belongs own owns like likes love
    prefer hate feel feels felt smell smells taste tastes sound sounds good bad better best
    worse worst nice fine great wrong true false correct sure certain own real because although
    though however therefore otherwise besides except despite regarding concerning via per upon
    among amongst alongside past near round throughout unless whether whichever whatever
    wherever today's tonight early late later soon sooner recent whole extra alone both few
    several enough such mine yours ours theirs hers different similar exact approximate rough
    precise possible estimated current actual respective given chance way reading readings
    telling showing trouble mind separating radius stretch seconds minutes minute hours live
    lives living without maximum minimum most least measures measurement opening unobstructed
    until tallness across raised hangs hanging placed mounted installed attached parked leaning
    remains left remaining retrace retraced explored explore orientation twist twisted oriented
    sighting sightings presence absence sign classify tone tones quantity numerous footage plan
    wall-to-wall mileage odometer map localise localize maybe anyhow please pls plz approx dist
    off-axis onwards onward leftwards rightwards hidden flanked surrounded enclosed enough
    suppose supposed gonna wanna gotta lemme hence whereas further-more overall tot altogether
    collectively beginning behaved behaves behave finally firstly secondly lastly mean meant
    intended intend expected expect proper properly manage manages managed lot lots bit amount
    couple pair degree percent half third quarter confirm express territory ground budge budged
    changed budges trip requesting sir roll rolling project strip drivable spatial relation
    relations joining localise yourself baseline circles flanked
"""
VOCABULARY = _words(_FUNCTION + _ASKING + _QUANTITY + _ACTING + _COMMON) | NUMBERS.keys()

COLOURS = _words(
    """red green blue yellow orange purple violet pink brown black white grey gray beige turquoise
    cyan magenta golden silver dark-red dark-blue"""
)

# Two of these make a question another language's.
FOREIGN = _words(
    """der das ist sind wie wo wer ein eine einen und oder von vom zu zur zum im den dem auf bist
    ich wir est le la les un une des du de et ou où que quoi quel quelle combien dans à
    a-t-il sont qu el los las es está están qué cuál cuánto cuántos cuántas dónde hay entre
    del al por una en cómo il gli che è dove quanto nel della"""
)

# Words that questions turn on, spelled wrongly often enough to be worth mending.
SPELLED = (
    *("depth", "distance", "between", "nearest", "closest", "farthest", "furthest", "length"),
    *("width", "height", "angle", "colour", "color", "direction", "many", "closer", "nearer"),
    *("further", "farther", "higher", "taller", "where", "which", "there", "degrees", "camera"),
    *("robot", "behind", "above", "below", "front", "right", "left", "visible", "room", "large"),
    *("metres", "meters", "forward", "dimensions", "previous"),
)

# Named, asked about like things in a room, and never in one.
WORLDLY = _words(
    """moon sun star stars planet earth mars world universe god life love time weather temperature
    rain wind news joke meaning price cost money population country city capital president
    year month week day today tomorrow yesterday hour age speed score stock rate rates
    interest cure cancer happiness politics political economy law laws idea ideas dream
    dreams hope truth history future past war peace government tax taxes salary rent flight
    train bus restaurant shop holiday birthday wedding recipe language word words sentence
    poem story number-plate iq probability chance percentage opinion feeling feelings health
    doctor medicine disease rich poor price market email internet music song movie sea ocean
    airport"""
)
