"""What the browser asks for besides pages: pictures by opaque token, health, and the voter's cookie."""
