"""A Service Bus emulator in pure Python. Stands alone: imports nothing else of geoetl."""
