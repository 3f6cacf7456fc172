// Behaviour of ECP5 primitives as far as gateware and Yosys use them, written from Lattice's descriptions (FPGA-TN-02204 for memories,
// FPGA-TN-02205 for multipliers): one clock, every register of a multiplier used, synchronous, no resets.

module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC",
    parameter ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB",
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", GSR = "DISABLED",
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0,
    parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0,
    parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
    parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0,
    parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0,
    parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
    parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0,
    parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
    input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
    input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16, DIB17,
    input CLKA, CEA, OCEA, RSTA, WEA, CSA0, CSA1, CSA2, CLKB, CEB, OCEB, RSTB, WEB, CSB0, CSB1, CSB2,
    output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15, DOA16, DOA17,
    output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
    // Nine bits a place: half a word of 18, a quarter of one of 36. Both ports read, port A alone writes.
    reg [8:0] memory [0:2047];
    wire [13:0] a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [35:0] in = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    reg [35:0] read, out;
    reg [17:0] read_a, out_a;
    // Of initial contents, a word of 18 bits has twenty.
    wire [64*320-1:0] initial_contents = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
        INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
        INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
        INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
    integer place, index;
    initial for (place = 0; place < 2048; place = place + 1) memory[place] = initial_contents[20*(place/2) + 9*(place%2) +: 9];
    always @(posedge CLKA) begin
        if (CEA & {CSA2, CSA1, CSA0} == 0 & (~WEA | WRITEMODE_A != "NORMAL"))
            read_a <= DATA_WIDTH_A == 9 ? {9'b0, memory[a[13:3]]} : {memory[{a[13:4], 1'b1}], memory[{a[13:4], 1'b0}]};
        if (OCEA) out_a <= read_a;
    end
    always @(posedge CLKA)
        if (CEA & WEA & {CSA2, CSA1, CSA0} == 0) begin
            if (DATA_WIDTH_A == 9) memory[a[13:3]] <= in[8:0];
            for (index = 0; index < DATA_WIDTH_A / 9; index = index + 1)
                if (DATA_WIDTH_A > 9 && a[index]) memory[(DATA_WIDTH_A == 18 ? {a[13:4], 1'b0} : {a[13:5], 2'b0}) + index] <= in[9*index +: 9];
        end
    always @(posedge CLKB) begin
        if (CEB & {CSB2, CSB1, CSB0} == 0)
            case (DATA_WIDTH_B)
                9: read <= memory[b[13:3]];
                18: read <= {memory[{b[13:4], 1'b1}], memory[{b[13:4], 1'b0}]};
                default:
                    read <= {memory[{b[13:5], 2'd3}], memory[{b[13:5], 2'd2}], memory[{b[13:5], 2'd1}], memory[{b[13:5], 2'd0}]};
            endcase
        if (OCEB) out <= read;
    end
    wire [35:0] word = REGMODE_B == "OUTREG" ? out : read;
    // Of a word with more bits than a port, port A's pins have the lower ones.
    wire [17:0] lower = DATA_WIDTH_B == 36 ? word[17:0] : REGMODE_A == "OUTREG" ? out_a : read_a;
    wire [17:0] upper = DATA_WIDTH_B == 36 ? word[35:18] : word[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = upper;
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = lower;
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

module LUT4 #(
    parameter INIT = 16'h0000
) (
    input A, B, C, D,
    output Z
);
    wire [15:0] table0 = INIT;
    assign Z = table0[{D, C, B, A}];
endmodule

module TRELLIS_FF #(
    parameter GSR = "DISABLED", CEMUX = "1", CLKMUX = "CLK", LSRMUX = "LSR", SRMODE = "LSR_OVER_CE", REGSET = "RESET"
) (
    input CLK, LSR, CE, DI,
    output reg Q
);
    always @(posedge CLK) Q <= LSR ? 1'b0 : DI;
endmodule
