"""What a board with the USB link says of itself on the bus."""

__all__ = ["MAKER", "PRODUCT", "TITLE", "USB_BAUD", "VENDOR"]

VENDOR, PRODUCT = 0x1209, 0x0001
"""pid.codes' numbers for tests. Whoever sells or gives away such boards asks pid.codes for numbers of their own."""
MAKER, TITLE = "Sateen", "accelerator"
"""What it calls itself. The numbers for tests are anybody's; these texts tell it apart."""
USB_BAUD = 11_000_000
"""What USB amounts to as a serial port of ten bits a byte: 1.1 MB/s, of 1.14 and 1.19 measured in simulation."""
