"""The INI file as typed settings; asks nothing of the machine."""
