"""Presets: one flat TOML file per published figure or table, read by `fedtwin-evaluate --figure`."""
