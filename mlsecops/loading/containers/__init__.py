"""Container formats: zip archives, compressed streams and protocol buffers."""
