"""`microgesture report`: finished runs as one HTML page and as Markdown."""
