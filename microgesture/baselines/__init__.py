"""Published methods that FG-SGL is compared with, one file each."""
