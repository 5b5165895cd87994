"""Views of images in which triggers show that single values hide.

rows → `local_texture` (how smooth each place is), `patch_words` (what appears anywhere) → scores
"""
