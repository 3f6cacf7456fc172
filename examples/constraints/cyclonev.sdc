# Intel Cyclone V, Quartus. Pins stand in the .qsf: set_location_assignment PIN_AF14 -to clk, and so on.

# The one clock. The period is that of the configuration's clock_hz, from which the serial rate is divided.
create_clock -name clk -period 10.000 [get_ports clk]
derive_clock_uncertainty

# Serial lines, buttons and lamps keep no time with the clock; what enters is synchronized inside.
set_false_path -from [get_ports {reset_n uart_rx}]
set_false_path -to [get_ports {uart_tx led}]
