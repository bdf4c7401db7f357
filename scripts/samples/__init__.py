"""Sample photos for the demo and the tests, drawn from noise: nobody's holiday is in them."""
