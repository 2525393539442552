"""Job specs from one description, and sending them. No TensorFlow here."""
