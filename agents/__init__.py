"""Agents that learn to schedule: multi-agent D3QN for discrete, DDPG for continuous and hybrid decisions."""

from .d3qn import D3QN, D3QNSettings
from .ddpg import DDPG, DDPGSettings

__all__ = ["D3QN", "DDPG", "D3QNSettings", "DDPGSettings"]
