# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which models of the library are used as what, by their names, sizes and categories.

The libraries name things as people do, so a name alone does not say where a thing belongs: a roast
chicken is small, but does not stand on wardrobes. Here stands what does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models import ModelEntry, ModelLibrary

__all__ = ["KINDS", "SETS", "Kind", "Stock"]


@dataclass(frozen=True)
class Kind:
    """Models that serve the same purpose.

    Args:
        names: Their names in the library.
        noun: What questions call them; "": their own name in lower case.
        categories: Only of these; none is any.
        height: Only of heights in this range, metres.
        width: Only of widths in this range, metres.
    """

    names: tuple[str, ...]
    noun: str = ""
    categories: tuple[str, ...] = ()
    height: tuple[float, float] = (0.0, 99.0)
    width: tuple[float, float] = (0.0, 99.0)

    def fits(self, entry: ModelEntry) -> bool:
        """Whether a model is one of these."""
        return (
            entry.name in self.names
            and (not self.categories or entry.category in self.categories)
            and self.height[0] <= entry.size[2] <= self.height[1]
            and self.width[0] <= entry.size[0] <= self.width[1]
        )


KINDS: dict[str, Kind] = {
    "chair": Kind(("Chair", "Chair with cushion", "Folding chair", "Oak chair", "Plastic chair",
                   "Osaka chair"), "chair", ("Living room",)),
    "office chair": Kind(("Chair",), "chair", ("Office",)),
    "armchair": Kind(("Armchair", "Modern armchair", "Winchester armchair"), "armchair"),
    "stool": Kind(("Stool", "Bar stool", "Bar chair", "Piano bench"), "stool"),
    "sofa": Kind(("Sofa", "Clear sofa", "Burlap sofa", "Couch", "Sofa 2 seats", "Sofa 3 seats",
                  "Winchester sofa", "Futon couch", "Convertible sofa BZ", "Corner sofa"), "sofa"),
    "bed": Kind(("Bed", "Iron bed", "Captain's bed", "Child bed", "Hospital bed"), "bed"),
    "cot": Kind(("Crib", "Baby bed", "Day bed"), "bed"),
    "table": Kind(("Table", "Round table", "Black table", "Glass table", "Oak table",
                   "Wooden table", "Wooden teak table", "Wooden alder table", "Table on trestles",
                   "Table with tablecloth"), "table", ("Living room", "Office"), (0.68, 0.95),
                  (0.75, 2.4)),
    "coffee table": Kind(("Coffee table", "Table"), "table", ("Living room",), (0.3, 0.56)),
    "side table": Kind(("Round table", "Table", "Bedside table"), "table", (), (0.4, 0.8),
                       (0.0, 0.7)),
    "desk": Kind(("Desk", "Wooden desk", "Desk table"), "desk", (), (0.6, 1.1)),
    "nightstand": Kind(("Bedside table",), "nightstand"),
    "shelf": Kind(("Bookcase", "Full bookcase", "Shelves", "Vertical shelves"), "shelf"),
    "wardrobe": Kind(("Wardrobe", "Cupboard"), "wardrobe"),
    "cabinet": Kind(("Dresser with drawers", "Chest", "Box", "Drawers cabinet", "Filing cabinet",
                     "Safe", "Changing table"), "cabinet", ("Bedroom", "Living room", "Office",
                                                            "Kitchen"), (0.45, 1.2)),
    "tv stand": Kind(("TV stand", "Dresser with drawers"), "cabinet", ("Living room",)),
    "tv": Kind(("TV", "TV 16:9"), "tv"),
    "plant": Kind(("Plant", "Ficus", "Indoor plant", "Decorative plant", "Yucca", "Spathiphyllum",
                   "White lily", "Christmas tree"), "plant", ("Living room",), (0.5, 2.2)),
    "small plant": Kind(("Bonsai tree", "Flowers", "Tulips", "Orchids", "Little plant", "Cactus",
                         "Bamboo", "Spider plant", "Succulent plant", "Plant"), "plant",
                        ("Living room",), (0.0, 0.62)),
    "lower cabinet": Kind(("Lower cabinet", "Small lower cabinet", "Drawers cabinet"), "cabinet",
                          ("Kitchen",), (0.8, 0.95)),
    "sink": Kind(("Sink", "Sink cabinet"), "sink", ("Kitchen",)),
    "stove": Kind(("Large stove", "Propane stove"), "stove"),
    "washing machine": Kind(("Clothes washing machine", "Dryer machine", "Washing machine"),
                            "washing machine"),
    "fridge": Kind(("Fridge", "Large fridge", "Refrigerator"), "fridge"),
    "high cabinet": Kind(("High cabinet", "Double oven"), "cabinet"),
    "upper cabinet": Kind(("Upper cabinet", "Small upper cabinet", "Glass door cabinet",
                           "Upper shelves cabinet"), "cabinet"),
    "hood": Kind(("Hood", "Range hood"), "hood"),
    "bath": Kind(("Bath", "Island bath"), "bath"),
    "shower": Kind(("Shower stall",), "shower"),
    "toilet": Kind(("Toilets unit", "Bidet"), "toilet"),
    "washbasin": Kind(("Washbasin", "Vanity", "Small lavatory", "Double vanity"), "washbasin"),
    "door": Kind(("Door", "Double door", "Exterior door"), "door", ("Doors and windows",)),
    "wall tv": Kind(("Wall flat TV",), "tv"),
    "radiator": Kind(("Radiator",), "radiator", ("Miscellaneous", "Bathroom"), (0.4, 1.2)),
    "wall thing": Kind(("Cuckoo clock", "Dart game", "Air conditioning - Internal unit",
                        "Wall hanger", "Wall spotlight", "Wall light", "Gaz water heater",
                        "Electric water heater", "Emergency sign", "Intercom with screen")),
    "switch": Kind(("Wall switch", "Wall double switch", "Wall socket", "Wall double socket",
                    "Rounded switch", "Square switch", "Wall dimmer switch", "Wall type E plug",
                    "Square type C plug", "Rounded type G plug"), "switch"),
    "curtain": Kind(("Curtain",), "curtain"),
    "ceiling lamp": Kind(("Ceiling lamp", "Hanging light", "Lamp", "Fluorescent light",
                          "Chandelier lamp", "Ceiling fan"), "lamp", ("Lights", "Miscellaneous"),
                         (0.0, 1.0)),
    "desk lamp": Kind(("Desk lamp", "Lamp", "Little lamp", "Pedestal vase lamp",
                       "Japanese lantern"), "lamp", ("Lights",), (0.3, 0.85)),
    "floor lamp": Kind(("Lamp",), "lamp", ("Lights",), (1.0, 2.0)),
    "person": Kind(("Female", "Male", "Boy", "Girl", "Holding female", "Holding male"), "person"),
    "pet": Kind(("Bulldog", "Cat", "Dog", "Siamese cat", "Rabbit")),
    "tree": Kind(("Acacia", "Copper beech", "Cypress", "Ficus", "Japanese maple", "Pine", "Poplar",
                  "Sycamore maple", "Peach blossom", "Palm tree", "Coconut tree", "Bamboo"),
                 "tree", ("Exterior",)),
    "bush": Kind(("Bush", "Hedge", "High hedge"), "bush"),
    "vehicle": Kind(("Chevrolet", "Concept Sedan 01", "Concept Sedan 02", "Ford Focus",
                     "Peugeot 308 CC", "Renault Scenic", "SUV", "Seat Leon", "Smart car", "Van",
                     "VW new beetle", "Concept Sedan 02 Sport"), "car"),
    "large vehicle": Kind(("Truck", "City bus", "Bus"), "truck"),
    "cycle": Kind(("Bicycle", "Bike", "Motorbike", "Scooter", "Yamaha YZR R6")),
    "street thing": Kind(("Bench", "Concrete bench", "Painted bench", "Park trashcan",
                          "Residential trashcan", "Mailbox", "Fire hydrant", "Cone", "Barrel",
                          "Pallet", "Crate", "Pedestrian railing", "Fence", "Rock", "Flower box",
                          "Plant box", "Wood logs", "Stone lantern")),
    "street lamp": Kind(("Street lamp", "Park light", "Classic lamppost"), "lamp"),
    "garden thing": Kind(("Table", "Chair", "Cafe chair", "Cafe table", "Deck chair", "Relax chair",
                          "Rattan armchair", "Rattan sofa", "Rattan table", "Teck chair",
                          "Wood bank", "Umbrella", "Dog house", "Garden hut", "Child swing",
                          "Trampoline", "Sandpit", "Wheelbarrow", "Camping tent", "Hose reel",
                          "Mower", "Snowman", "Fountain"), "",
                         ("Exterior", "Miscellaneous"), (0.2, 2.6)),
}  # fmt: skip

# Small things by where they stand, with how often each is as likely as the others.
SETS: dict[str, tuple[str, ...]] = {
    "desk": ("Laptop", "Apple iBook", "Apple iMac 2004", "Apple iMac 1998", "Phone", "Penbox",
             "Letter tray", "Inkjet printer and scanner", "Book", "Book", "Stapler", "Calendar",
             "Coffee mug", "Coffee cup", "Headphones", "Reflex camera", "Speaker", "Radio",
             "Glasses", "Tablet", "Table fan", "Rigged fan", "Newspaper", "Scissors",
             "Tape", "Glass", "Apple iPhone", "Plastic cup", "Keys", "Cactus", "MP3 station"),
    "dining": ("Plate", "Plate, glass and cutlery", "Plate, glasses and cutlery", "Bowl",
               "Bowl with fruits", "Bowl with salad", "Glass", "Wine bottle", "Coffee mug",
               "Teapot", "Bread", "Vase", "Flowers", "Newspaper", "Salt shaker", "Birthday cake",
               "Tray", "Candle", "Cup", "Oval plate", "Milk", "Apples", "Beer bottle", "Book",
               "Laptop", "Coffee cup", "Butter", "Tulips", "Sushi tray"),
    "counter": ("Coffee machine", "Coffee maker", "Coffee brewer", "Toaster", "Blender",
                "Microwave", "Mixer", "Bread box", "Knife stand", "Paper towel holder",
                "Kitchen scale", "Chopping board", "Bowl", "Teapot", "Utensils pot", "Spice tower",
                "Old jar", "Oil servers", "Large pan", "Deep fryer", "Coffee press", "Glass",
                "Small oven", "Bowl with fruits", "Espresso kettle", "Wine bottle", "Milk", "Plate",
                "Sandwich maker", "Squeezer", "Boiler", "Cooker", "Pottery", "Sugar",
                "Yogurt bottle", "Creamer", "Coffee mug", "Plastic cup", "Kitchen tools",
                "Sponge", "Tray"),
    "coffee": ("Book", "Book", "Newspaper", "TV remote control", "Vase", "Candle", "Flowers",
               "Bowl", "Joystick", "Tablet", "Ashtray", "Coffee cup", "Coffee mug", "Chessboard",
               "Card game", "Glass", "Bowl with fruits", "Orchids", "Teapot", "Laptop"),
    "sideboard": ("Vase", "Vase", "Lamp", "Little lamp", "Mini stereo", "Radio", "Frame Chambord",
                  "Frame Hôi An", "Book", "Box", "Gift", "Teddy bear", "Car model", "Clock",
                  "Speaker", "Little plant", "Orchids", "Stereo amplifier", "DVD player", "Tulips",
                  "Candle", "Bonsai tree", "Aquarium", "Japanese lantern", "Cardboard box", "Hat",
                  "Bread box", "Wireless phone", "PlayStation", "Doll", "Helmet", "Folded clothes"),
    "night": ("Little lamp", "Lamp", "Clock", "Book", "Glass", "Wireless phone", "Glasses", "Watch",
              "Apple iPhone", "Japanese lantern"),
    "bath": ("Soap", "Bottle", "Brush", "Cosmetics pot", "Towel", "Medicine bottle", "Flacon",
             "Medicine box", "Glass", "Sponge"),
    "floor": ("Cardboard box", "Open cardboard box", "Suitcase", "Backpack", "Dustbin", "Box",
              "Bullet trash can", "Recycling bin", "Shopping basket", "Crate", "Soccer ball",
              "Basketball", "Clothes basket", "Sneakers", "Slippers", "Vase", "Handbag",
              "Briefcase", "Teddy bear", "Rocking horse", "Electric guitar", "Small step ladder",
              "Extinguisher", "Puff", "Toy train", "Stroller", "Wheelchair", "Indoor bike",
              "Treadmill", "Water cooler", "Speaker", "Punching ball", "Step ladder",
              "Clothes horse", "White board", "Child chair", "Children chair", "Umbrella",
              "Doll house", "Trunck", "Bench", "Video projector", "Tricycle", "Skateboard",
              "Abdominal bench", "Barrel", "Flipper", "Baby high chair", "Gift"),
    "large": ("Upright piano", "Fireplace", "Clothes rack", "Pool table", "Table tennis",
              "Football table", "Workbench", "Screen", "Grand piano", "Television cabinet",
              "Fitness tower", "Chest freezer", "Dressing table", "Aquarium", "Locked locker"),
}  # fmt: skip
_SMALL_SIDE, _FLOOR_SIDE = 0.75, 2.0  # metres; larger ones of the same name are something else


class Stock:
    """The usable models of a library, by kind.

    Args:
        library: Where they lie.
        most_triangles: Heavier models are left aside.
    """

    def __init__(self, library: ModelLibrary, most_triangles: int = 40_000) -> None:
        self.library = library
        rows = [
            (number, entry)
            for number, entry in enumerate(library.entries)
            if library.triangles[number] <= most_triangles
        ]
        self._kinds = {
            name: tuple(number for number, entry in rows if kind.fits(entry))
            for name, kind in KINDS.items()
        }
        by_name: dict[str, list[int]] = {}
        for number, entry in rows:
            by_name.setdefault(entry.name, []).append(number)
        self._sets: dict[str, tuple[tuple[int, ...], ...]] = {}
        for name, wanted in SETS.items():
            side = _FLOOR_SIDE if name in ("floor", "large") else _SMALL_SIDE
            side = 99.0 if name == "large" else side
            groups = (
                tuple(n for n in by_name.get(each, ()) if max(library.entries[n].size) < side)
                for each in wanted
            )
            self._sets[name] = tuple(group for group in groups if group)

    def draw(
        self, rng: np.random.Generator, kind: str, most: Sequence[float] = (99.0, 99.0, 99.0)
    ) -> int | None:
        """A model of a kind no larger than `most` (width, depth, height); None where none is."""
        fitting = [n for n in self._kinds[kind] if self._small(n, most)]
        return int(fitting[int(rng.integers(len(fitting)))]) if fitting else None

    def draw_small(
        self, rng: np.random.Generator, place: str, most: Sequence[float] = (99.0, 99.0, 99.0)
    ) -> int | None:
        """A small thing for a place: a name is drawn first, then one of its models."""
        groups = self._sets[place]
        if not groups:
            return None
        group = groups[int(rng.integers(len(groups)))]
        fitting = [n for n in group if self._small(n, most)]
        return int(fitting[int(rng.integers(len(fitting)))]) if fitting else None

    def noun(self, number: int, kind: str = "") -> str:
        """What questions call a model that serves as a kind."""
        if kind and KINDS[kind].noun:
            return KINDS[kind].noun
        for name in self._kinds:
            if number in self._kinds[name] and KINDS[name].noun:
                return KINDS[name].noun
        return self.library.entries[number].name.lower()

    def _small(self, number: int, most: Sequence[float]) -> bool:
        size = self.library.entries[number].size
        return all(side <= limit for side, limit in zip(size, most, strict=True))
