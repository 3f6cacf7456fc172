// Behaviour of Gowin's multipliers as far as gateware uses them, written from Gowin's description (UG287): one clock, synchronous
// reset, a register where a parameter asks for one.

module sateen_gowin_multiplier #(parameter WIDTH = 18, AREG = 0, BREG = 0, PIPE_REG = 0, OUT_REG = 0) (
    input [WIDTH-1:0] A, B, SIA, SIB,
    input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
    output [2*WIDTH-1:0] DOUT
);
    wire [WIDTH-1:0] a_in = ASEL ? SIA : A, b_in = BSEL ? SIB : B;
    reg [WIDTH-1:0] a_held, b_held;
    reg [2*WIDTH-1:0] pipeline, out;
    wire [WIDTH-1:0] a = AREG ? a_held : a_in, b = BREG ? b_held : b_in;
    wire [2*WIDTH-1:0] wide_a = {{WIDTH{ASIGN & a[WIDTH-1]}}, a}, wide_b = {{WIDTH{BSIGN & b[WIDTH-1]}}, b};
    wire [2*WIDTH-1:0] product = wide_a * wide_b;
    wire [2*WIDTH-1:0] staged = PIPE_REG ? pipeline : product;
    always @(posedge CLK)
        if (RESET) {a_held, b_held, pipeline, out} <= 0;
        else if (CE) {a_held, b_held, pipeline, out} <= {a_in, b_in, product, staged};
    assign DOUT = OUT_REG ? out : staged;
endmodule

module MULT18X18 #(parameter AREG = 0, BREG = 0, PIPE_REG = 0, OUT_REG = 0, MULT_RESET_MODE = "SYNC") (
    input [17:0] A, B, SIA, SIB,
    input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
    output [35:0] DOUT
);
    sateen_gowin_multiplier #(.WIDTH(18), .AREG(AREG), .BREG(BREG), .PIPE_REG(PIPE_REG), .OUT_REG(OUT_REG)) multiplier (
        .A(A), .B(B), .SIA(SIA), .SIB(SIB), .ASIGN(ASIGN), .BSIGN(BSIGN), .ASEL(ASEL), .BSEL(BSEL), .CE(CE), .CLK(CLK), .RESET(RESET),
        .DOUT(DOUT));
endmodule

module MULT9X9 #(parameter AREG = 0, BREG = 0, PIPE_REG = 0, OUT_REG = 0, MULT_RESET_MODE = "SYNC") (
    input [8:0] A, B, SIA, SIB,
    input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
    output [17:0] DOUT
);
    sateen_gowin_multiplier #(.WIDTH(9), .AREG(AREG), .BREG(BREG), .PIPE_REG(PIPE_REG), .OUT_REG(OUT_REG)) multiplier (
        .A(A), .B(B), .SIA(SIA), .SIB(SIB), .ASIGN(ASIGN), .BSIGN(BSIGN), .ASEL(ASEL), .BSEL(BSEL), .CE(CE), .CLK(CLK), .RESET(RESET),
        .DOUT(DOUT));
endmodule
