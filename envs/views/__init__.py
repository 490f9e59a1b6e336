"""Views: what libraries for reinforcement learning know of a system."""
