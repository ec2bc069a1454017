"""Files and folders: listed, recognized by content, unpacked, and written whole or not at all."""
