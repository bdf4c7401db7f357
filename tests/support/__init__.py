"""What the tests share: fakes, the program itself, damage, and the means to wait."""
