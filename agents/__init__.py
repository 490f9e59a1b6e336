"""Agents that learn to schedule: multi-agent dueling double deep Q-learning."""

from .d3qn import D3QN, D3QNSettings

__all__ = ["D3QN", "D3QNSettings"]
