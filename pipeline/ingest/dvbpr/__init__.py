"""Files in the DVBPR layout: a pickle that is read without trusting it, and without keeping it in memory."""
