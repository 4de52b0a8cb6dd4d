"""The plugin host that tsai 1.0 lacks. Imports neither torch nor tsai: `import torch` imports this package."""
