"""Plays WebShop natively: an online shop in which an agent buys what a sentence asks for.

`catalogue` reads official files of any size, `goals` makes the tasks, `engine` plays them and
`reward` judges the purchase.
"""

from skillrl.envs.webshop import suite  # registers "webshop"

WebshopSuite = suite.WebshopSuite

__all__ = ["WebshopSuite"]
