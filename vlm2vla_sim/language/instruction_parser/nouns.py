"""The things and the words for them: what a typing error is corrected to, and what is a place.

The vocabulary is that of BridgeData V2 (toy kitchens, tabletops, tools) and of a household. A word that is not here
is a name all the same; the list only tells typing errors from names.
"""

from __future__ import annotations

from vlm2vla_sim.language.instruction_parser.sets import words

_FOOD = """
apple apricot asparagus aubergine avocado bacon bagel banana bean beans bell berry blueberry bread broccoli bun
burger butter cabbage cake candy carrot cauliflower celery cereal cheese cherry chicken chili chocolate cob cookie
corn corncob courgette cracker croissant cucumber cupcake donut doughnut drumstick dumpling egg eggplant fish food
fruit garlic ginger grape grapes ham hamburger honey hotdog jam juice ketchup kiwi leek leg lemon lettuce lime mango
meat melon milk mushroom mustard noodle nut oil okra olive onion orange oreo papaya pasta pastry pea peach peanut
pear peas pepper pickle pie pineapple pizza plum popcorn pork potato pretzel pumpkin radish raspberry rice roll
salad salmon salt sandwich sauce sausage shrimp slice soup spaghetti spice spinach squash steak strawberry sugar
sushi syrup taco tangerine tea toast tomato tuna turkey turnip vegetable veggie vinegar waffle walnut water
watermelon yam yogurt zucchini almond almonds lentil lentils cashew noodles wrap nugget nuggets wing wings crab
lobster octopus
"""
_KITCHEN = """
apron bag basin basket bin blender board bottle bowl box bread brush bucket burner cabinet can canister cap carton
chopper chopstick chopsticks cleaver cloth coaster colander container cooker counter countertop cover crate cup
cupboard cutter cutlery detergent dish dishes dishwasher drainer drawer dustpan faucet filter flap flaps flask foil
fork freezer fridge glass glove grater griddle grill handle hob hook jar jug kettle knife knob ladle lever lid
machine mat measure microwave mitt mixer mold mug napkin opener oven packet pan peeler pestle pin pitcher plate
platter pot pouch rack rag refrigerator scale scissors scoop scrubber shaker shears shelf sieve sifter silverware
sink skillet soap spatula spice sponge spoon spout stand stove stovetop straw strainer switch tap tea teapot thermos
timer tin toaster tong tongs towel tray trivet tub turner utensil utensils vase wash whisk wok wrapper saucepan
cooktop stovetop tablecloth tupperware dishcloth dishrag teaspoon tablespoon trash garbage laundry clothes pitcher
potholder
"""
_THINGS = """
animal arch arm ball battery bear bell bird block blocks board boat book bowling brick broom bunny bus button cable
camera candle car card cat chain chair chalk chess circle clamp clay clip clock coin cone controller cord cow crayon
cube cubes cylinder deer dice die dinosaur dog doll door dough drill duck eagle elephant envelope eraser eyeglasses
figure figurine file flashlight flower flute folder football fox frog funnel giraffe glasses glue goat guitar hair
hammer hat headphone hex highlighter hippo hole holder horse house jacket jenga joystick key keyboard ladder lamp
leaf lego light lion lock lotion magnet marble marker mask medicine mirror monkey mouse nail newspaper notebook nut
object objects owl package pad paint paper pawn peg pen pencil phone picture pig pile pillow pipe plank plant
plastic plier pliers plug plush plushie pole puzzle pyramid rabbit racket rectangle remote ribbon ring robot rock
rod rope rubber ruler sandal screw screwdriver shape sharpener sheep shell shirt shoe shovel sock sphere spring
square squirrel stack stamp stapler star stick sticker stone string stuffed stuff sunglasses superhero tape teddy
thing tile tissue tissues tomb tool toothbrush toothpaste tower toy toys train triangle truck tube turtle umbrella
unicorn usb wall wallet watch weight wheel whale wire wood wool wrench yarn zebra zipper fence piece pieces pair
bunch part item items one ones stuff corner table desk floor ground surface bench tabletop workspace everything
anything something everyone space chest crane tiger trunk garage hamster paste pocket placemat bandana torch wheat
raisin stalk trinket toolbox bookshelf clipboard cloak globe feather coat purse money movie cork thimble lantern
bracelet necklace belt helmet racquet whistle rattle domino blossom carnation walkman canoe skewer sister spear
spindle spoke spool stone plaque plaster pedal petal pebble beach bread brace bowl bonnet boot boots machine wedge
prism pentagon hexagon cuboid bridge crescent cuvette
"""
_PAIRS = """
stove top|oven top|table top|counter top|toy kitchen|cutting board|rolling pin|measuring spoon|measuring cup
washing machine|drying rack|dish rack|serving spoon|mixing bowl|chopping board|baking tray|frying pan|wash cloth
wiping cloth|toilet paper|folding chair|upside down|sweeping brush|cleaning cloth|grasping tool
"""
_ADJECTIVES = """
red blue green yellow orange purple pink white black brown grey gray silver gold golden violet teal cyan turquoise
magenta beige tan maroon navy transparent clear dark light bright colourful colorful coloured colored striped
spotted checkered metal metallic wooden plastic glass steel stainless paper cardboard rubber ceramic plush stuffed
toy fake big small large little tiny long short tall wide narrow thin thick round square rectangular triangular
circular flat hollow cylindrical cubic curved soft hard fluffy full empty hot cold wet dry dirty clean old new whole
half open closed folded crumpled rolled measuring cutting handled sized shaped same other another second third first
last only single nearest closest different wrapped peeled sliced cooked raw sweet ripe fresh frozen baby left right
upper lower top bottom front back middle far near inner outer rear leftmost rightmost upright lying
"""
NUMBERS = words("two three four five six seven eight nine ten both all every each several many few")
COLOURS = words(
    "red blue green yellow orange purple pink white black brown gray silver gold golden violet teal cyan turquoise "
    "beige"
)
ADJECTIVES = words(_ADJECTIVES) | NUMBERS
NOUNS = words(f"{_FOOD}{_KITCHEN}{_THINGS}")
PAIRS = frozenset(tuple(pair.split()) for line in _PAIRS.split("\n") for pair in line.split("|") if pair.strip())
"""Two words of which the first would be read as a verb or a direction."""

BASES = words("table tabletop counter countertop desk surface workspace floor ground bench") | {
    *("table top", "counter top")
}
"""What everything stands on. "The left of the table" is a part of it; "the left of the pot" is beside it."""
FURNITURE = (
    BASES
    | words("stove stovetop sink oven shelf cooktop cabinet cupboard fridge refrigerator")
    | {*("stove top", "oven top", "toy kitchen")}
)
"""What other places are on or in: "the pot on the stove"."""
PARTED = BASES | words("stove stovetop sink cooktop shelf") | {"stove top", "oven top"}
"""Whose sides are parts of it: "the left side of the stove"."""
CONTAINERS = words(
    "pot pan bowl basket drawer sink saucepan cup box colander rack bucket bin can jar mug glass tub bag"
)
