"""What `guardkit eval` does: labelled texts in, a report of numbers out, never a text."""
