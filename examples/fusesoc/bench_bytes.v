// The accelerator at a line of bytes: sends what stimulus.hex holds, and compares what comes out. See stimulus.py.

`timescale 1ns / 1ps

module bench;
  localparam WORDS = 1 << 20;
  localparam END = 0, SEND = 3, EXPECT = 4;
  localparam PATIENCE = 2000000;

  reg clk = 0, rst = 1;
  reg [47:0] stimulus [0:WORDS-1];
  integer at = 0, cycles = 0;

  wire [7:0] step = stimulus[at][47:40], value = stimulus[at][7:0];
  wire [7:0] tx;
  wire tx_valid, busy;

  sateen accelerator (
    .clk(clk), .rst(rst), .busy(busy),
    .rx__payload(value), .rx__valid(!rst && step == SEND),
    .tx__payload(tx), .tx__valid(tx_valid), .tx__ready(!rst && step == EXPECT)
  );

  initial $readmemh("stimulus.hex", stimulus);
  always #5 clk = !clk;

  always @(posedge clk) begin
    rst <= cycles < 4;
    cycles <= cycles + 1;
    if (!rst) case (step)
      SEND: at <= at + 1;
      EXPECT: if (tx_valid) begin
        if (tx != value) begin
          $display("FAIL: byte %02h came, %02h expected", tx, value);
          $fatal;
        end
        at <= at + 1;
      end
      default: begin
        $display("PASS: the digit's logits equal the golden model's, after %0d cycles", cycles);
        $finish;
      end
    endcase
    if (cycles == PATIENCE) begin
      $display("FAIL: still at step %0d after %0d cycles", at, cycles);
      $fatal;
    end
  end
endmodule
