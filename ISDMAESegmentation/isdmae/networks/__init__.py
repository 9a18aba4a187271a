"""Networks in plain torch: their weight names belong to us and never follow a library's release."""
