// Classifies images of 8 × 8 pixels: an accelerator by Sateen, and a state machine that drives it.
//
// Before the first image the model comes in through load_*, as records: the number of a memory (3: weights, 4: program),
// an address (3 bytes, the lowest first), a length (3 bytes), then as many bytes. Then pixels come in through pixel_*, 64
// an image, as signed bytes. For each image digit_valid is 1 for one cycle, and digit says what it shows.
module classifier (
    input  wire       clk,
    input  wire       rst,
    input  wire [7:0] load_data,
    input  wire       load_valid,
    output wire       load_ready,
    input  wire [7:0] pixel_data,
    input  wire       pixel_valid,
    output wire       pixel_ready,
    output reg  [3:0] digit,
    output reg        digit_valid
);
    `include "digits.vh"
    localparam PIXELS = 64, CLASSES = 10, SCRATCHPAD = 2;
    // Registers of the accelerator (AXI4-Lite).
    localparam [7:0] SPACE = 8'h10, ADDRESS = 8'h14, READ = 8'h18, RUN = 8'h1c, STATUS = 8'h20;

    localparam [3:0] IDLE = 0, HEADER = 1, SET_SPACE = 2, SET_ADDRESS = 3, BYTES = 4, START = 5, POLL = 6, AWAIT = 7,
        SEEK = 8, SEEK_ADDRESS = 9, FETCH = 10, SCORES = 11, WRITE = 12, DONE = 13;
    reg [3:0]  state, next;
    reg        image;                 // an image comes in, not a record
    reg [55:0] header;                // memory, address and length of what comes in
    reg [2:0]  got;
    reg [23:0] left;
    reg [7:0]  register;
    reg [31:0] value;
    reg        address_sent, value_sent;
    reg signed [7:0] best;

    wire [7:0] score;
    wire       bytes_ready, score_valid, aw_ready, w_ready, b_valid, ar_ready, r_valid;
    wire [31:0] r_data;
    wire       bytes_valid = state == BYTES && (image ? pixel_valid : load_valid);

    assign load_ready = state == HEADER || (state == BYTES && !image && bytes_ready);
    assign pixel_ready = state == BYTES && image && bytes_ready;

    // Writes a register, then goes on.
    task write(input [7:0] to, input [31:0] what, input [3:0] after);
        begin
            register <= to;
            value <= what;
            next <= after;
            address_sent <= 0;
            value_sent <= 0;
            state <= WRITE;
        end
    endtask

    always @(posedge clk) begin
        digit_valid <= 0;
        case (state)
            IDLE:
                if (load_valid) begin
                    image <= 0;
                    got <= 0;
                    state <= HEADER;
                end else if (pixel_valid) begin
                    image <= 1;
                    header <= {PIXELS[23:0], IMAGE_ADDRESS[23:0], SCRATCHPAD[7:0]};
                    state <= SET_SPACE;
                end
            HEADER:
                if (load_valid) begin
                    header <= {load_data, header[55:8]};
                    got <= got + 1;
                    if (got == 6) state <= SET_SPACE;
                end
            SET_SPACE: write(SPACE, {24'b0, header[7:0]}, SET_ADDRESS);
            SET_ADDRESS: begin
                left <= header[55:32];
                write(ADDRESS, {8'b0, header[31:8]}, BYTES);
            end
            BYTES:
                if (bytes_valid && bytes_ready) begin
                    left <= left - 1;
                    if (left == 1) state <= image ? START : IDLE;
                end
            START: write(RUN, {16'b0, COUNT[7:0], FIRST[7:0]}, POLL);
            POLL: if (ar_ready) state <= AWAIT;
            AWAIT: if (r_valid) state <= r_data[0] ? POLL : SEEK;
            SEEK: write(SPACE, SCRATCHPAD, SEEK_ADDRESS);
            SEEK_ADDRESS: write(ADDRESS, SCORES_ADDRESS, FETCH);
            FETCH: begin
                left <= 0;
                write(READ, CLASSES, SCORES);
            end
            SCORES:
                if (score_valid) begin
                    if (left == 0 || $signed(score) > best) begin
                        best <= score;
                        digit <= left[3:0];
                    end
                    left <= left + 1;
                    if (left == CLASSES - 1) state <= DONE;
                end
            DONE: begin
                digit_valid <= 1;
                state <= IDLE;
            end
            WRITE: begin
                if (aw_ready) address_sent <= 1;
                if (w_ready) value_sent <= 1;
                if (b_valid) state <= next;
            end
            default: state <= IDLE;
        endcase
        if (rst) begin
            state <= IDLE;
            digit_valid <= 0;
        end
    end

    sateen accelerator (
        .clk(clk), .rst(rst),
        .s_axis_tdata(image ? pixel_data : load_data), .s_axis_tvalid(bytes_valid), .s_axis_tready(bytes_ready),
        .s_axis_tlast(1'b0),
        .m_axis_tdata(score), .m_axis_tvalid(score_valid), .m_axis_tready(state == SCORES), .m_axis_tlast(),
        .s_axil_awaddr(register), .s_axil_awprot(3'b0), .s_axil_awvalid(state == WRITE && !address_sent),
        .s_axil_awready(aw_ready),
        .s_axil_wdata(value), .s_axil_wstrb(4'hf), .s_axil_wvalid(state == WRITE && !value_sent),
        .s_axil_wready(w_ready),
        .s_axil_bresp(), .s_axil_bvalid(b_valid), .s_axil_bready(state == WRITE),
        .s_axil_araddr(STATUS), .s_axil_arprot(3'b0), .s_axil_arvalid(state == POLL), .s_axil_arready(ar_ready),
        .s_axil_rdata(r_data), .s_axil_rresp(), .s_axil_rvalid(r_valid), .s_axil_rready(state == AWAIT),
        .busy()
    );
endmodule
