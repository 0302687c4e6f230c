"""A page to play with a generator in a browser; nothing of it asks the network.

wish    what a visitor asks for, and the command that makes the same
show    pictures, videos and words as HTML
form    the page: its fields, and what its buttons do
style   what the page looks like
serve   from a generator to an address that can be opened
"""
