"""Pictures on disk: overlays, previews, budgets. A process of its own, at low priority."""
