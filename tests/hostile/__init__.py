"""What strangers may hand over, damaged or made to do damage: files and argument lists."""
