"""Lists what a generated household is made of: tables, no code beyond splitting words.

`CAN_CONTAIN`, `CLEANABLE`, `HEATABLE`, `COOLABLE` and `SLICEABLE` are ALFRED's constants
(alfworld 0.4.2, gen/constants.py), restricted to the classes used here. `LIKELY` and `ROOMS`
are this project's own: where things usually are, and what a room is furnished with.
"""

from __future__ import annotations

from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(rows: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(words.split()) for key, words in rows.items()}


ANYWHERE = (
    "SoapBar SoapBottle ToiletPaper Cloth HandTowel Candle Book Pen Pencil CD CellPhone KeyChain "
    "CreditCard Laptop RemoteControl Newspaper Watch Vase"
)
FOOD = "Apple Tomato Potato Lettuce Bread Egg"
KITCHENWARE = "Bowl Cup Mug Plate Pan Fork Spoon Knife Spatula SaltShaker DishSponge"
_TABLE_TOP = f"{FOOD} {KITCHENWARE} {ANYWHERE}"
_SEAT = "Cloth Book CellPhone KeyChain CreditCard Laptop RemoteControl Newspaper Pillow"
_SMALL = "Cloth Candle Book Pen Pencil CD CellPhone KeyChain CreditCard"

CAN_CONTAIN = _table(
    {
        "Fridge": f"{FOOD} Bowl Cup Mug Plate Pan",
        "Microwave": "Apple Tomato Potato Bread Egg Bowl Cup Mug Plate",
        "SinkBasin": "Apple Tomato Potato Lettuce Egg Bowl Cup Mug Plate Pan Fork Spoon Knife "
        "Spatula DishSponge SoapBar Cloth HandTowel",
        "CounterTop": _TABLE_TOP,
        "DiningTable": _TABLE_TOP,
        "SideTable": _TABLE_TOP,
        "CoffeeTable": _TABLE_TOP,
        "Cabinet": "Bowl Cup Mug Plate Pan SaltShaker DishSponge SoapBar SoapBottle ToiletPaper "
        "Cloth HandTowel Candle Book CD Newspaper Vase",
        "Drawer": "Fork Spoon Knife Spatula SaltShaker DishSponge SoapBar SoapBottle ToiletPaper "
        f"HandTowel {_SMALL} RemoteControl Newspaper Watch",
        "StoveBurner": "Pan",
        "CoffeeMachine": "Mug",
        "GarbageCan": f"{FOOD} DishSponge SoapBar SoapBottle ToiletPaper Cloth HandTowel Pen "
        "Pencil CD Newspaper",
        "Shelf": "Bowl Cup Mug Plate SaltShaker DishSponge SoapBar SoapBottle ToiletPaper "
        f"HandTowel {_SMALL} RemoteControl Newspaper Watch Vase",
        "BathtubBasin": "DishSponge SoapBar Cloth HandTowel",
        "Toilet": "DishSponge SoapBar SoapBottle ToiletPaper Cloth HandTowel Candle Newspaper",
        "HandTowelHolder": "HandTowel",
        "ToiletPaperHanger": "ToiletPaper",
        "Bed": "Book CellPhone Laptop Newspaper Pillow",
        "Desk": f"Bowl Cup Mug Plate SoapBottle ToiletPaper {_SMALL} Laptop RemoteControl "
        "Newspaper Watch Vase",
        "Dresser": f"Bowl Cup Mug Plate ToiletPaper {_SMALL} Laptop RemoteControl Newspaper Watch "
        "Vase",
        "ArmChair": _SEAT,
        "Sofa": _SEAT,
    }
)
"""Receptacle class -> object classes that may be put there (ALFRED)."""

CLEANABLE = _words(
    "Apple Bowl Cloth Cup DishSponge Egg Fork Knife Lettuce Mug Pan Plate Potato SoapBar Spatula "
    "Spoon Tomato"
)
HEATABLE = _words("Apple Bread Cup Egg Mug Plate Potato Tomato")
COOLABLE = _words("Apple Bowl Bread Cup Egg Lettuce Mug Pan Plate Potato Tomato")
SLICEABLE = _words(FOOD)
VESSELS = _words("Bowl Cup Mug Plate Pan")
LAMP = "DeskLamp"

LIKELY = _table(
    {
        "Apple": "Fridge CounterTop DiningTable",
        "Tomato": "Fridge CounterTop DiningTable",
        "Potato": "Fridge CounterTop SinkBasin",
        "Lettuce": "Fridge CounterTop SinkBasin",
        "Bread": "CounterTop Fridge DiningTable",
        "Egg": "Fridge CounterTop SinkBasin",
        "Bowl": "Cabinet CounterTop DiningTable Desk",
        "Cup": "Cabinet CounterTop SinkBasin Desk",
        "Mug": "CoffeeMachine CounterTop Cabinet Desk",
        "Plate": "Cabinet CounterTop DiningTable",
        "Pan": "StoveBurner CounterTop Cabinet",
        "Fork": "Drawer CounterTop SinkBasin",
        "Spoon": "Drawer CounterTop SinkBasin",
        "Knife": "CounterTop Drawer DiningTable",
        "Spatula": "CounterTop Drawer SinkBasin",
        "SaltShaker": "CounterTop Shelf Cabinet",
        "DishSponge": "SinkBasin CounterTop Cabinet",
        "SoapBar": "SinkBasin CounterTop BathtubBasin",
        "SoapBottle": "CounterTop Toilet Cabinet",
        "ToiletPaper": "ToiletPaperHanger Toilet Cabinet",
        "Cloth": "BathtubBasin CounterTop Cabinet",
        "HandTowel": "HandTowelHolder CounterTop SinkBasin",
        "Candle": "Toilet CounterTop Cabinet",
        "Book": "Desk Bed Shelf Sofa CoffeeTable",
        "Pen": "Desk Drawer SideTable CoffeeTable",
        "Pencil": "Desk Drawer Shelf SideTable",
        "CD": "Desk Shelf Drawer",
        "CellPhone": "Bed Desk Sofa SideTable",
        "KeyChain": "SideTable Desk Dresser CoffeeTable",
        "CreditCard": "Desk SideTable Dresser CoffeeTable",
        "Laptop": "Desk Bed Sofa CoffeeTable",
        "RemoteControl": "Sofa CoffeeTable ArmChair Dresser",
        "Newspaper": "CoffeeTable Sofa ArmChair Bed",
        "Watch": "SideTable CoffeeTable Dresser Shelf",
        "Pillow": "Bed Sofa ArmChair",
        "Vase": "SideTable Shelf CoffeeTable Dresser",
        "DeskLamp": "Desk SideTable Dresser CoffeeTable",
    }
)
"""Object class -> receptacle classes where it usually is, the likeliest first."""

KINDS = ("Kitchen", "LivingRoom", "Bedroom", "Bathroom")
"""Kind of room, in the order of ALFRED's floor plans: 1-30, 201-230, 301-330, 401-430."""

FIRST_SCENE = {"Kitchen": 1, "LivingRoom": 201, "Bedroom": 301, "Bathroom": 401}

FURNITURE: dict[str, dict[str, tuple[int, int]]] = {
    "Kitchen": {
        "Fridge": (1, 1),
        "Microwave": (1, 1),
        "SinkBasin": (1, 1),
        "CounterTop": (1, 2),
        "Cabinet": (1, 3),
        "Drawer": (1, 2),
        "StoveBurner": (1, 2),
        "CoffeeMachine": (0, 1),
        "DiningTable": (0, 1),
        "GarbageCan": (0, 1),
        "Shelf": (0, 1),
    },
    "Bathroom": {
        "SinkBasin": (1, 1),
        "BathtubBasin": (1, 1),
        "Toilet": (1, 1),
        "CounterTop": (1, 1),
        "ToiletPaperHanger": (1, 1),
        "GarbageCan": (1, 1),
        "Cabinet": (1, 3),
        "HandTowelHolder": (0, 2),
        "Drawer": (0, 2),
        "Shelf": (0, 2),
        "SideTable": (0, 1),
    },
    "Bedroom": {
        "Bed": (1, 1),
        "Desk": (1, 2),
        "Drawer": (1, 3),
        "Shelf": (1, 3),
        "SideTable": (1, 2),
        "GarbageCan": (1, 1),
        "Dresser": (0, 1),
        "ArmChair": (0, 1),
    },
    "LivingRoom": {
        "Sofa": (1, 2),
        "ArmChair": (1, 2),
        "CoffeeTable": (1, 1),
        "SideTable": (1, 2),
        "GarbageCan": (1, 1),
        "Drawer": (0, 2),
        "Shelf": (0, 2),
        "DiningTable": (0, 1),
        "Desk": (0, 1),
        "Dresser": (0, 1),
    },
}
"""Kind of room -> receptacle class -> (fewest, most) of them."""

SIZE = (11, 14)
"""Fewest and most receptacles of a room: enough to search, few enough for a short prompt."""

OPENABLE = (3, 5)
"""Fewest and most receptacles of a room that open (fewer where there are none to open)."""

ALWAYS_OPENABLE = ("Fridge", "Microwave")
SOMETIMES_OPENABLE = ("Cabinet", "Drawer")

THINGS = _table(
    {
        "Kitchen": f"{FOOD} {KITCHENWARE}",
        "Bathroom": "SoapBar SoapBottle ToiletPaper Cloth HandTowel Candle DishSponge",
        "Bedroom": "Book Pen Pencil CD CellPhone KeyChain CreditCard Laptop Pillow Watch Mug Bowl "
        "Cup Newspaper RemoteControl Vase",
        "LivingRoom": "Book Pen CellPhone KeyChain CreditCard Laptop RemoteControl Newspaper "
        "Pillow Watch Vase Pencil",
    }
)
"""Kind of room -> object classes found there."""
