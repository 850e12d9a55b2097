"""Plays environments on a live server: AgentGym's two, and OpenEnv."""

from skillrl.envs.remote import alfworld, openenv, webshop  # registers the three suites

AgentGymAlfworldSuite = alfworld.AgentGymAlfworldSuite
AgentGymWebshopSuite = webshop.AgentGymWebshopSuite
OpenEnvSuite = openenv.OpenEnvSuite

__all__ = ["AgentGymAlfworldSuite", "AgentGymWebshopSuite", "OpenEnvSuite"]
