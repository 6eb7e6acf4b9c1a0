"""The catalogue: what the game sells, at what price in coins, and which guilds it starts with."""

from __future__ import annotations

SWORDS = {
    "copper_sword": 4,
    "iron_sword": 5,
    "long_sword": 9,
    "rapier": 7,
    "short_sword": 5,
    "master_sword": 77,
    "scimatar": 8,  # so spelled in the game
    "katana": 10,
    "hook_sword": 4,
    "machete": 5,
    "falcion": 5,
    "sabre": 6,
    "great_sword": 15,
    "moonlight_great_sword": 75,
    "wood_sword": 1,
    "estoc": 7,
}

SHIELDS = {
    "great_shield": 14,
    "buckler": 6,
    "mirror_shield": 42,
    "spiked_shield": 9,
    "golden_shield": 40,
    "wood_shield": 3,
    "leather_shield": 5,
    "copper_shield": 4,
    "iron_shield": 7,
}

GUILDS = ("house_stark", "grubs", "ucbears", "joestars", "winden_caves")
