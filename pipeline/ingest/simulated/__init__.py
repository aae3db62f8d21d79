"""Tables of simulated users: who buy the photos of class folders, or a catalogue of any size that is drawn for them."""
