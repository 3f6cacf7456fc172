// The accelerator behind AXI: sends what stimulus.hex holds, and compares what comes out. See stimulus.py.

`timescale 1ns / 1ps

module bench;
  localparam WORDS = 1 << 20;
  localparam END = 0, WRITE = 1, AWAIT = 2, SEND = 3, EXPECT = 4;
  localparam PATIENCE = 2000000;

  reg clk = 0, rst = 1;
  reg [47:0] stimulus [0:WORDS-1];
  integer at = 0, cycles = 0;

  wire [7:0] step = stimulus[at][47:40], register = stimulus[at][39:32];
  wire [31:0] value = stimulus[at][31:0];

  // A register access under way; it is begun once.
  reg asked = 0, addressed = 0;
  wire [7:0] m_data;
  wire [31:0] r_data;
  wire s_ready, m_valid, m_last, aw_ready, w_ready, b_valid, ar_ready, r_valid, busy;
  wire [1:0] b_resp, r_resp;

  sateen accelerator (
    .clk(clk), .rst(rst), .busy(busy),
    .s_axis_tdata(value[7:0]), .s_axis_tvalid(!rst && step == SEND), .s_axis_tready(s_ready), .s_axis_tlast(1'b0),
    .m_axis_tdata(m_data), .m_axis_tvalid(m_valid), .m_axis_tready(step == EXPECT), .m_axis_tlast(m_last),
    .s_axil_awaddr(register), .s_axil_awprot(3'b0), .s_axil_awvalid(!rst && step == WRITE && !asked), .s_axil_awready(aw_ready),
    .s_axil_wdata(value), .s_axil_wstrb(4'hF), .s_axil_wvalid(!rst && step == WRITE && !asked), .s_axil_wready(w_ready),
    .s_axil_bresp(b_resp), .s_axil_bvalid(b_valid), .s_axil_bready(1'b1),
    .s_axil_araddr(register), .s_axil_arprot(3'b0), .s_axil_arvalid(!rst && step == AWAIT && !asked), .s_axil_arready(ar_ready),
    .s_axil_rdata(r_data), .s_axil_rresp(r_resp), .s_axil_rvalid(r_valid), .s_axil_rready(1'b1)
  );

  initial $readmemh("stimulus.hex", stimulus);
  always #5 clk = !clk;

  always @(posedge clk) begin
    rst <= cycles < 4;
    cycles <= cycles + 1;
    if (!rst) case (step)
      WRITE: begin
        if (aw_ready && w_ready) asked <= 1;
        if (b_valid) begin asked <= 0; at <= at + 1; end
      end
      AWAIT: begin
        if (ar_ready) asked <= 1;
        if (r_valid) begin asked <= 0; if (r_data == value) at <= at + 1; end
      end
      SEND: if (s_ready) at <= at + 1;
      EXPECT: if (m_valid) begin
        if (m_data != value[7:0]) begin
          $display("FAIL: byte %02h came, %02h expected", m_data, value[7:0]);
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
