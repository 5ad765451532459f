/* The least that a C program costs: the floor that sttp-cli is compared with. */
int main(void)
{
    return 0;
}
