"""Where other tools meet the library: one module for each, imported only by those who have it.

Data flows from the other tool's objects into the library's values and back; nothing below imports
anything here.
"""
