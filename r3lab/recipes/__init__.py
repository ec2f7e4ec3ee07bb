"""How what ships was made: the policies, the ablations, the planted reasons, the records of the gallery."""
