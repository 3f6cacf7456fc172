# Xilinx 7, Vivado. Pins are those of your board.
set_property -dict {PACKAGE_PIN E3 IOSTANDARD LVCMOS33} [get_ports clk]
set_property -dict {PACKAGE_PIN C2 IOSTANDARD LVCMOS33} [get_ports reset_n]
set_property -dict {PACKAGE_PIN A9 IOSTANDARD LVCMOS33} [get_ports uart_rx]
set_property -dict {PACKAGE_PIN D10 IOSTANDARD LVCMOS33} [get_ports uart_tx]
set_property -dict {PACKAGE_PIN H5 IOSTANDARD LVCMOS33} [get_ports led]

# The one clock. The period is that of the configuration's clock_hz, from which the serial rate is divided.
create_clock -name clk -period 10.000 [get_ports clk]

# Serial lines, buttons and lamps keep no time with the clock; what enters is synchronized inside.
set_false_path -from [get_ports {reset_n uart_rx}]
set_false_path -to [get_ports {uart_tx led}]
