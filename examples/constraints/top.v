// An accelerator at a serial port, as the top of an FPGA: what the constraints of this folder are for.

module top (
  input wire clk,
  input wire reset_n,
  input wire uart_rx,
  output wire uart_tx,
  output wire led
);
  // The accelerator's reset is synchronous. A button is not: two registers bring it to the clock.
  (* ASYNC_REG = "TRUE" *) reg [1:0] reset_sync;
  initial reset_sync = 2'b11;
  always @(posedge clk) reset_sync <= {reset_sync[0], !reset_n};

  sateen accelerator (.clk(clk), .rst(reset_sync[1]), .uart_rx(uart_rx), .uart_tx(uart_tx), .busy(led));
endmodule
