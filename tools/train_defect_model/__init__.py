"""Train the defect model of the plate's face on rendered parts. See README.md."""
