"""What everything else stands on: errors, boxes and their frames, safe pixels, the text protocol, files and records.

Nothing here knows a model, a world or a view.
"""
