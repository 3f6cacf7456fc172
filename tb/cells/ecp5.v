// Behaviour of ECP5 primitives as far as the gateware uses them, written from Lattice's descriptions (FPGA-TN-02204 for memories,
// FPGA-TN-02205 for multipliers): one clock, every register used, synchronous, no resets.

module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC",
    parameter ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB",
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", GSR = "DISABLED"
) (
    input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
    input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16, DIB17,
    input CLKA, CEA, OCEA, RSTA, WEA, CSA0, CSA1, CSA2, CLKB, CEB, OCEB, RSTB, WEB, CSB0, CSB1, CSB2,
    output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
    // Nine bits a place: half a word of 18.
    reg [8:0] memory [0:2047];
    wire [13:0] a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [8:0] low = {DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [8:0] high = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9};
    reg [17:0] read, out;
    always @(posedge CLKA)
        if (CEA & WEA & {CSA2, CSA1, CSA0} == 0) begin
            if (DATA_WIDTH_A == 9) memory[a[13:3]] <= low;
            else begin
                if (ADA0) memory[{a[13:4], 1'b0}] <= low;
                if (ADA1) memory[{a[13:4], 1'b1}] <= high;
            end
        end
    always @(posedge CLKB) begin
        if (CEB & {CSB2, CSB1, CSB0} == 0)
            read <= DATA_WIDTH_B == 9 ? {9'b0, memory[b[13:3]]} : {memory[{b[13:4], 1'b1}], memory[{b[13:4], 1'b0}]};
        if (OCEB) out <= read;
    end
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} =
        REGMODE_B == "OUTREG" ? out : read;
endmodule

module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0",
    parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0",
    parameter SOURCEB_MODE = "B_SHIFT", RESETMODE = "SYNC", GSR = "ENABLED"
) (
    input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
    input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    input CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
    output P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
    reg signed [17:0] a, b;
    reg signed [35:0] pipeline, out;
    always @(posedge CLK0) begin
        if (CE0) begin
            a <= {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
            b <= {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
            pipeline <= a * b;
            out <= pipeline;
        end
    end
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12,
            P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = out;
endmodule

module CCU2C #(
    parameter INIT0 = 16'h0000, INIT1 = 16'h0000, INJECT1_0 = "YES", INJECT1_1 = "YES"
) (
    input CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    output S0, S1, COUT
);
    // Where a bit is not passed on, its carry is what the quarter of the table says that has neither C nor D.
    wire [15:0] table0 = INIT0, table1 = INIT1;
    wire pass0 = table0[{D0, C0, B0, A0}], pass1 = table1[{D1, C1, B1, A1}];
    wire carry = pass0 ? CIN : table0[{2'b00, B0, A0}];
    assign S0 = pass0 ^ CIN;
    assign S1 = pass1 ^ carry;
    assign COUT = pass1 ? carry : table1[{2'b00, B1, A1}];
endmodule
