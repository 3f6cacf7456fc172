// Gowin EDA: the one clock, 27 MHz on a Tang Nano 9K; write the Verilog with clock_hz=27000000.
create_clock -name clk -period 37.037 [get_ports {clk}]

// Serial lines, buttons and lamps keep no time with the clock; what enters is synchronized inside.
set_false_path -from [get_ports {reset_n}]
set_false_path -from [get_ports {uart_rx}]
set_false_path -to [get_ports {uart_tx}]
set_false_path -to [get_ports {led}]
