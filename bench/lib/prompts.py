"""Prompts that are in no cache: plain words in an order that depends on a seed."""
import random

WORDS = """river stone gate water chip team share price page queue fair token light model paper bread north seven
answer table mill wheel grain road bridge tower clock glass copper iron cloud storm winter summer field horse cart
market baker miller daughter letter lamp window garden orchard apple salt honey sheep wool loom cloth needle thread
ship sail anchor harbour island mountain valley forest wolf fox owl raven candle mirror music silence morning night
story number count weigh carry build open close begin end ask tell find lose remember forget""".split()


def words(count, seed):
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(count))
