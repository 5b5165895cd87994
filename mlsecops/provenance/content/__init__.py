"""Content digests of arrays, tables and sample streams, independent of their layout."""
